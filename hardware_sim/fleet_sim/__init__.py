"""A thousand cars in one process: the device's own sync and update rules, without any physics."""
