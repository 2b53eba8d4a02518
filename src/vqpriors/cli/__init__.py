"""The command line: options, checks that need no model, and the folders of drawn pictures."""
