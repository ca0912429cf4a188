"""How a gradient method is executed; the methods themselves do not know engines."""
