"""Devices and processes: the mesh, several hosts, signals, the process's settings."""
