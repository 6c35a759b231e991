"""gvisor: the tier of one runsc sandbox per task: its containers run on a kernel of their own, in user space.

Start reading at driver.py; what runs outside the daemon is shim.py, forked by zygote.py. (Nothing is imported
here: a shim would pay for it.)
"""
