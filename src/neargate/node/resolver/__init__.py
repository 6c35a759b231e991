"""resolver: the DNS of tasks, at their VPC's second address, in a process that outlives the daemon.

keeper.py is the daemon's side: it writes the zone file, keeps the process alive, and leads tasks there
(way.py) and this machine's own programs to load balancers (etc_hosts.py). __main__.py is the process:
server.py takes queries, book.py knows our names, answers.py writes answers, forward.py asks upstream.
"""
