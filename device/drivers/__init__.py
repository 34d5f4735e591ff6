"""The only importers of vendors' libraries; each driver is one Protocol of `device.hardware`."""
