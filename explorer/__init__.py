"""The explorer. data: what results/ holds. tabs/: what is asked and said. plots/: how it is drawn. page: all
of it together. serve: who may have it. mcp and answers: the same for agents."""
