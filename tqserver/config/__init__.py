"""
Two YAML files become frozen, typed values, or the list of everything that is wrong with them.

L{model} is what the rest of the program sees. L{load} reads the files: it walks the YAML nodes (which know
their line) against a declared shape, so that unknown keys, wrong types, values out of range and duplicates
are reported all at once, each with file, line, path and a hint. L{diff} tells what a new configuration
changes.
"""
