"""shim: the small process that owns one sandbox and outlives the daemon, and the zygote that forks it.

Started by node/shimmed. Standard library only and few imports: what is imported here is paid for by every
sandbox. Start reading at zygote.py, then main.py.
"""
