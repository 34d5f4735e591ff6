"""The terminal console: an operator's own, straight over MQTT, with the fleet server up or down."""
