"""The alignment stages of a run: what a stage compares and trains, and what it is reported by."""
