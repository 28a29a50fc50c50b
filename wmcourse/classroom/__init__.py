"""What an author and an instructor need: so far, ``build``, which turns a lesson's text into its notebook."""
