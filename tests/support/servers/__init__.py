"""The server as a process, beside others or alone, and what plays with it: clients, loads, proxies, supervisors."""
