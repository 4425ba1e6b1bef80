"""How ranks, their supervisors and the launcher talk beside the data: typed messages, client, server, verdicts."""
