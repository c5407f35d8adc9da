"""
What queues do, beside beanstalkd and Redis: C{python -m bench.queue}.

One run measures all of them on the same machine and disk, with the same clients, in rounds that take turns. Only what
a server has confirmed counts, and after each load every server is asked what it still has: if that is not what was put
and not ended, the row does not count.

Pure parts (L{bench.queue.rows}, L{bench.queue.table}) are apart from those that start processes. How turns are taken,
how CPU time is read and how a row is judged is L{bench.proxy}'s.
"""
