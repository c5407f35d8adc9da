"""C{tqctl}: the command line that sees and steers a running server."""
