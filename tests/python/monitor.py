import requests
import time

job_id = "my_job_123"

while True:
    response = requests.get(
        f"http://localhost:8000/api/training/jobs/{job_id}/status"
    )
    
    data = response.json()
    state = data['state']
    
    print(f"Job state: {state}")
    
    if state in ['completed', 'failed', 'stopped']:
        break
    
    time.sleep(10)
