"""The console's pages, one module each: `register` makes a page reachable."""
