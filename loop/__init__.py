"""Puts the steps in order: round, plateau, report, command line. The only opener of the store."""
