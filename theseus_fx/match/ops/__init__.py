"""Patterns over operations: what they are, how they are searched for, and the regions that they find."""
