"""Commands that speak over the network: serve a call service, and call through it from a shell."""
