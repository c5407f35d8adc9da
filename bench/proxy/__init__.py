"""
What a request costs, beside nginx and a reverse proxy in Go: C{python -m bench.proxy}.

One run measures all of them on the same machine, with the same worker behind them and the same load, in rounds that
take turns, so that what else the machine does hits all alike. CPU time is what the kernel has counted for the proxy's
own processes. A run with a single wrong answer does not count.

Pure parts (L{bench.proxy.reading}, L{bench.proxy.rows}, L{bench.proxy.table}) are apart from those that start
processes.
"""
