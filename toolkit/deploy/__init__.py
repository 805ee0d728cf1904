"""A recipe as Docker Compose or Kubernetes manifests, and what runs inside the container that they start."""
