"""The release repository: the owner's offline half and the server's online half."""
