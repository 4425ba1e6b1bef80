"""Which communicator a rank talks through, and how it joins and leaves the job."""
