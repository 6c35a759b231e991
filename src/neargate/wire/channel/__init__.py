"""Session Manager's data channel: binary messages, and what makes a stream of them whole.

Pure; used at both ends, by gateway/exec and by the CLI. frames.py is the layout, flow.py the order.
"""
