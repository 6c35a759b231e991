"""exec: Session Manager's data channel at the door, for ECS Exec.

Start reading at sessions.py, which main makes and server.py hands WebSockets to; session.py is one session,
channel.py what it says to its client, transcript.py what it leaves in a log group.
"""

from neargate.gateway.exec.sessions import Sessions

__all__ = ["Sessions"]
