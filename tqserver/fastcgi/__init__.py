"""
A native FastCGI client: PHP without a web server in between.

The lower modules know no socket. L{records} is the wire format, and L{usual} the short way to write and read what
nearly all requests and answers look like; L{cgi} is what a request is called in CGI, L{answer_head} what a script's
answer means in HTTP. L{scripts} says which script answers a path, L{finder} remembers it and asks L{disk} whether it
still holds. Above them L{client} is one connection, L{pool} all those of an endpoint, L{ping} the health check, and
L{spool} keeps a request's body until its length is known, which CGI wants in advance.

php-fpm is not a web server's peer but a pool of children, each of which belongs to one connection for as long
as that is open. So connections are shared out (no more than there are children), kept while they are used and no
longer, and closed whenever their state is in doubt: a fresh one costs some microseconds.
"""
