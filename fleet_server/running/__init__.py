"""The processes of the server, put together from the other rooms."""
