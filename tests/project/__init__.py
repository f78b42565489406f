"""The project as a whole: its packages, its floors, its files and what it promises about itself."""
