"""What a person looks at: HTML pages, figures, pictures of bodies."""
