"""The embedded MQTT broker and the configuration of others."""
