"""What authors of providers build with. It imports nothing else of the server, so a provider of your own can use it as ours do."""
