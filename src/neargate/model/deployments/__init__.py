"""The rules by which services are kept: how many tasks run, which start and stop, when a deployment is over.

All pure: functions of their arguments, called by control/services, which reads the records and writes what
comes out.
"""
