"""Launching: sessions, plans, the driver, pools of workers, and the commands that train."""
