import requests

job_id = "my_job_123"

response = requests.post(
    f"http://localhost:8000/api/training/jobs/{job_id}/download-artifact"
)

if response.status_code == 200:
    artifact_info = response.json()
    print(f"Artifact downloaded: {artifact_info['path']}")
    print(f"Hash: {artifact_info['hash_sha256']}")
