"""Tables read and checked, and files labelled in one piece or not at all."""
