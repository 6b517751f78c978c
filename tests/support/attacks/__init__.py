"""What attacks a server: hostile clients, damaged data, storms and long plays. Some are programs: see docs/faults.md."""
