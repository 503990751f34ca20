import requests

job_id = "my_job_123"

response = requests.post(
    f"http://localhost:8000/api/training/jobs/{job_id}/cancel"
)

if response.status_code == 200:
    print("Job cancelled successfully")
