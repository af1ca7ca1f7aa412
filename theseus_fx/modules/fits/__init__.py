"""Closed-form starts of replacements, a file for each kind; all of them are pure functions of tensors."""
