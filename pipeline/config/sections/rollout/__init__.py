"""What `rollout:` holds: policy, sampling, modes, tools, environment, and what is cut and dropped."""
