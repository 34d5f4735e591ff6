"""The car: `drive` parks and logs, `agent` syncs and updates; two processes over one journal."""
