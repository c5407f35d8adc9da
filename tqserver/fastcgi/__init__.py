"""
A native FastCGI client: PHP without a web server in between.

The lower modules know no socket. L{records} is the wire format, L{cgi} is what HTTP heads are called in CGI,
L{scripts} finds the script that answers a path. Above them L{client} is one connection, L{pool} all those of
an endpoint, L{ping} the health check, and L{spool} keeps a request's body until its length is known, which
CGI wants in advance.

php-fpm is not a web server's peer but a pool of children, each of which belongs to one connection for as long
as that is open. So connections are shared out (no more than there are children), kept only for moments, and
closed whenever their state is in doubt: a fresh one costs some microseconds.
"""
