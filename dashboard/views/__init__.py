"""The page's views: each has a `layout` and a `register` that ties it to the runs."""
