"""vmm: the processes that own virtual machines: one supervisor each, forked from a zygote of their own.

Standard library only, few imports, as in node/shim, whose pieces these are. Start reading at zygote.py, then
supervisor.py. Both outlive the daemon as far as a machine runs.
"""
