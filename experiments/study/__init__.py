"""The study of Onken & Ruthotto 2020 on seven problems and five questions: its plan, its runs, its page."""
