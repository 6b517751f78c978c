"""The packets of MQTT 3.1, 3.1.1 and 5.0, their decoder and their encoder. Nothing here does I/O.

A rule is cited by the number that the standards give it, such as [MQTT-3.1.2-3]. The two standards number apart from each other; a number
without a version is the same rule in both, or one of 5.0.
"""
