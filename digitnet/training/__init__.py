"""Train the network with Lightning."""
