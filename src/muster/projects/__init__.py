"""Projects: each belongs to an owner, and everything else belongs to a project."""
