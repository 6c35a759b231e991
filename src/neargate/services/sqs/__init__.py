"""services/sqs: Amazon SQS on the store: standard and FIFO queues, dead letter queues.

queues (create, attributes, lists, tags), permissions, send, receive (receive, delete, visibility); names
reads what callers give. Messages are moved by state/queues, which control/events uses as well.
"""
