"""Tables written as text: encoding, delimiter, header, numbers in cells."""
